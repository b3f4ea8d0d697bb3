"""What every room shares: records, canonical JSON, files, seeds, statistics, errors. No torch, no network."""
