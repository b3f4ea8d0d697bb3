"""Problems whose answers are code: languages, translation of gold code, and what is made of both."""
