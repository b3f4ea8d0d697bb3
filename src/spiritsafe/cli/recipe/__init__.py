"""What is done with recipes and with their runs: commands of the top, one file each."""
