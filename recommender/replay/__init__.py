"""Judging the recommender on a log of what happened, week by week, without looking ahead."""
