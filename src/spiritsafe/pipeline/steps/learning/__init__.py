"""What steps that train have in common: how they learn, and what rewards did."""
