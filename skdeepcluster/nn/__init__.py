"""Networks: encoders, decoders and assignment layers, in plain torch.

Their weights are float32, for any default dtype of torch.
"""

from .assignment import ClusteringAutoencoder, DissimilarityMixture, StudentTAssignment
from .autoencoders import (
    FeatureEncoder,
    Grayscale,
    ResidualBlock,
    Sobel,
    category_style_autoencoder,
    conv_autoencoder,
    dual_conv_autoencoder,
    glorot_,
    mlp_autoencoder,
    residual_autoencoder,
)
from .category_style import CategoryStyleNetwork, Critic
from .dual import Discriminator, DualAutoencoder, MixturePrior, SpectralAssignment

__all__ = [
    "CategoryStyleNetwork",
    "ClusteringAutoencoder",
    "Critic",
    "Discriminator",
    "DissimilarityMixture",
    "DualAutoencoder",
    "FeatureEncoder",
    "Grayscale",
    "MixturePrior",
    "ResidualBlock",
    "Sobel",
    "SpectralAssignment",
    "StudentTAssignment",
    "category_style_autoencoder",
    "conv_autoencoder",
    "dual_conv_autoencoder",
    "glorot_",
    "mlp_autoencoder",
    "residual_autoencoder",
]
