"""The papers' losses; a file for each paper."""

from imgtext_tf.losses.retrieval import image_to_text_loss, text_to_image_loss, visual_loss

__all__ = ["image_to_text_loss", "text_to_image_loss", "visual_loss"]
