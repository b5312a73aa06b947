"""Records, shards, images, text: from files to batches."""
