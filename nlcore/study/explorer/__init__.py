"""A map of a training set that a reader can explore on a static page: every sample, every epoch, every method.

`record` runs the methods and keeps what they saw and decided; `html` turns the record into one piece of HTML that needs
no server, no library and no network.
"""

from nlcore.study.explorer.page import fitting, html
from nlcore.study.explorer.recording import Axis, Recording, Track, loss_and_margin, record

__all__ = ["Axis", "Recording", "Track", "fitting", "html", "loss_and_margin", "record"]
