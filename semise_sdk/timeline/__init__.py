"""Patients over time: severity visit by visit, and which changes exceed what the reference bank leaves open.

Every image of a timeline is measured from the same resamples of the bank, so a change has an interval of its own, as in
:mod:`semise_sdk.severity.difference`. It says whether other healthy references would have shown the change too. It
does not know how much two images of an unchanged patient differ, taken on two days with another light, angle or camera:
a change that the bank decides may still be that.
"""

from semise_sdk.timeline.course import Timeline, Visit, VisitSeverity, timeline_rows
from semise_sdk.timeline.visits import read_visits

__all__ = ["Timeline", "Visit", "VisitSeverity", "read_visits", "timeline_rows"]
