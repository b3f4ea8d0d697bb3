"""The page at ``/``, on which models are asked side by side: one file of HTML, of CSS and of JavaScript each."""
