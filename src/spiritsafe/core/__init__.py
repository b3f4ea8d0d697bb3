"""What every room shares: records, canonical JSON, files, processes, seeds, errors. No torch, no network."""
