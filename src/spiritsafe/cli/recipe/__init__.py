"""What is done with recipes and with runs: commands of the top, one file each."""
