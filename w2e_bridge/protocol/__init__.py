"""The promises of an artifact, in no file format's terms: canonical JSON and the records in it."""
