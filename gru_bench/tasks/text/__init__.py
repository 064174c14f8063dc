"""Tasks on texts: from the hub, a folder, a file, or Python."""
