"""What answers are made of: running jobs, server-sent events, forms that several interfaces share."""
