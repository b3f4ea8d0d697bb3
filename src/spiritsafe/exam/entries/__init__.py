"""What a ledger holds of one paper: registrations, accesses, disputes, edits, retirement.

An entry counts by its signer.
"""
