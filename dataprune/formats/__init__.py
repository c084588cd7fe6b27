"""Files of other programs: subsets, scores, dynamics, lists of classes, and the pickles that some of them are."""
