"""Files in the layouts in which taggers, translators and text classifiers have long kept their data."""
