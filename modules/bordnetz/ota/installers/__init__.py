"""One file a kind of target; `installer` has what all of them answer to."""
