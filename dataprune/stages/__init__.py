"""Each stage turns a config and finished inputs into the files of one folder."""
