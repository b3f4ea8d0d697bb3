"""Problems of code that are drawn, not collected: each template gives thousands of functions to write."""
