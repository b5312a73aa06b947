"""Raw data to TFRecord shards: `python -m tfrecords_tools.<name>`."""
