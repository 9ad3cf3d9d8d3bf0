"""Snippets of newspaper editorials with human ratings (Hutto & Gilbert, ICWSM 2014), as positive against negative."""

from autopeft.assets._ratings import ratings_asset

ASSET = ratings_asset(
    name="vader-nyt", summary="snippets of editorials", ratings="nytEditorialSnippets_GroundTruth.txt"
)
