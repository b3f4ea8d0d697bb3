"""Jobs answered from weights in this process, many at a time: from messages to tokens, and from tokens to text."""
