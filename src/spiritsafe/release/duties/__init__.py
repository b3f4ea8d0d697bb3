"""Duties: what licences of models ask of what is made with them, worked out from lineage. Not legal advice."""
