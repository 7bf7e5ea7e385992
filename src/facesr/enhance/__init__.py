"""The finished tool: image in, enlarged image out; files, folders, videos and clusters."""
