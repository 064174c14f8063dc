"""Where data comes from: folders and the hub, vocabularies. Tasks turn it into batches."""
