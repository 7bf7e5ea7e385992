"""Sources of images: FFHQ, the Selfie Data Set, folders and archives."""
