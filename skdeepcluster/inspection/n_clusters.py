"""Which number of clusters is suggested, and how clearly."""

from typing import Any, Self

from ..model_selection import NClustersSuggestion
from ._drawing import check_axes, draw_legend


class NClustersDisplay:
    """Use this to see how clear a suggested number of clusters is.

    Make it with :meth:`from_suggestion`.

    Parameters
    ----------
    suggestion : NClustersSuggestion
        What :func:`~skdeepcluster.model_selection.suggest_n_clusters` returned.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes. The line shows the separations, the bars show the scores.
    figure_ : matplotlib Figure
        The figure that holds the axes.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skdeepcluster import DCEC
    >>> from skdeepcluster.inspection import NClustersDisplay
    >>> from skdeepcluster.model_selection import suggest_n_clusters
    >>> suggestion = suggest_n_clusters(DCEC(random_state=0), load_iris().data, range(2, 8))
    >>> display = NClustersDisplay.from_suggestion(suggestion)
    >>> display.ax_.get_title()
    'suggestion: 2 clusters'
    """

    def __init__(self, suggestion: NClustersSuggestion) -> None:
        self.suggestion = suggestion

    @classmethod
    def from_suggestion(cls, suggestion: NClustersSuggestion, *, ax: Any = None) -> Self:
        """Draw a suggestion.

        Parameters
        ----------
        suggestion : NClustersSuggestion
            What :func:`~skdeepcluster.model_selection.suggest_n_clusters` returned.
        ax : matplotlib Axes, default=None
            Where to draw. None creates a new figure.

        Returns
        -------
        display : NClustersDisplay
            The Display, drawn.

        Raises
        ------
        TypeError
            If `suggestion` is something else, or `ax` is not one Axes.
        """
        if not isinstance(suggestion, NClustersSuggestion):
            raise TypeError(
                f"suggestion={suggestion!r} is not an NClustersSuggestion: pass what "
                "suggest_n_clusters(estimator, X) returned."
            )
        return cls(suggestion).plot(ax=ax)

    def plot(self, ax: Any = None) -> Self:
        """Draw the separations as a line and the scores as bars.

        The bar of the suggestion has a strong colour. It is where the line falls most.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw. None creates a new figure.

        Returns
        -------
        self : NClustersDisplay
            The Display, drawn.

        Raises
        ------
        TypeError
            If `ax` is not one Axes.
        ImportError
            If matplotlib is missing.
        """
        self.ax_ = check_axes(ax, "NClustersDisplay.plot", (7.0, 3.5))
        self.figure_ = self.ax_.figure
        found = self.suggestion
        numbers = found.n_clusters_range
        colors = ["C1" if k == found.n_clusters else "navajowhite" for k in numbers]
        self.ax_.plot(numbers, found.separations, ".-", label="separation")
        self.ax_.bar(numbers, found.scores, color=colors, label="score")
        self.ax_.set(
            xlabel="n_clusters",
            ylim=(0.0, 1.05),
            title=f"suggestion: {found.n_clusters} clusters",
        )
        self.ax_.xaxis.get_major_locator().set_params(integer=True)
        draw_legend(self.ax_, 2)
        return self
