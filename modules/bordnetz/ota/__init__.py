"""The update module: verified metadata in, installed and reported versions out."""
