"""Enhancement of images, files, folders and videos, also on clusters."""
