"""How Django writes and reads dates and times; named by FORMAT_MODULE_PATH."""
