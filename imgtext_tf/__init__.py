"""Image-text relations: reproductions of four papers in TensorFlow and Keras."""
