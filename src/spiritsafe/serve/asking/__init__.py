"""Reading what is asked: bodies, fields that several interfaces share, conversations."""
