"""After a sitting: disputes, revealed answers, retirement, published answers."""
