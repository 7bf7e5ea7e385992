"""Where images come from: FFHQ, the Selfie Data Set, folders and archives."""
