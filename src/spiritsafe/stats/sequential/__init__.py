"""Group-sequential designs and betting: when an exam may stop early."""
