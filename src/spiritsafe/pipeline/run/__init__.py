"""Running recipes: all stages of one, and files and a release out of a run that is finished."""
