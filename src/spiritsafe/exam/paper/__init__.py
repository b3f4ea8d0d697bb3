"""Papers: a bank is drawn, committed to, cut at random and half of it sealed."""
