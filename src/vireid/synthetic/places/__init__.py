"""Where they are: scenes indoors and outdoors, and their surfaces."""
