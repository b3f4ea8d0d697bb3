"""Which rung answers: chances of being right that are learnt on dev attempts, thresholds with a promise, cascades."""
