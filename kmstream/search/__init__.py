"""Start centroids: the best that can be found on a sample, for the least work.

K-means++ with restarts gets stuck as soon as there are many clusters. Here every start goes on by swaps, which take a
centroid from where it is missed least to where a second one pays most; the starts are then crossed with each other.
All that happens on a few thousand rows, drawn so that they stand for the sample (a core): a swap costs milliseconds.
The best three are improved on a larger core, and the winner on the whole sample.

On the core, no result is worse than that of `n_init` plain k-means++ restarts, since each start is one of those, and
nothing is kept that does not lower the inertia.

Read in this order: `starts` (the whole search), `draws` (the rows of a core, and the first centroids), `swaps` (what
improves a start), `settled` (Lloyd, and the weighted rows that all of it works on).

References
----------
- D. Arthur, S. Vassilvitskii (2007), k-means++: the advantages of careful seeding, SODA, 1027-1035.
- O. Bachem, M. Lucic, A. Krause (2018), Scalable k-means clustering via lightweight coresets, KDD, 1119-1127.
- P. Fränti (2018), Efficiency of random swap clustering, J. Big Data 5, 13.
- B. Fritzke (2020), The breathing k-means algorithm, arXiv:2006.15666.
- D. Gribel, T. Vidal (2019), HG-means: a scalable hybrid genetic algorithm for minimum sum-of-squares clustering,
  Pattern Recognition 88, 569-583.
"""

from kmstream.search.starts import SampleFit, check_distinct_rows, polish_centroids, search_centroids

__all__ = ["SampleFit", "check_distinct_rows", "polish_centroids", "search_centroids"]
