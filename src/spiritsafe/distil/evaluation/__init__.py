"""Quality without a verifier: likelihood of held-out documents, and how far a student is from its teacher."""
