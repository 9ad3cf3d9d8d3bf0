"""Snippets of product reviews with human ratings (Hutto & Gilbert, ICWSM 2014), as positive against negative."""

from autopeft.assets._ratings import ratings_asset

ASSET = ratings_asset(
    name="vader-amazon", summary="product-review snippets", ratings="amazonReviewSnippets_GroundTruth.txt"
)
