"""From fetched images to the batches of a training."""
