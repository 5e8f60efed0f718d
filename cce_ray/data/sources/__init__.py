"""The sources of data, one file each: settings, and a function that opens what they name."""
