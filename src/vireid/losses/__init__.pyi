from .center import CenterAggregationLoss as CenterAggregationLoss
from .confusion import confusion_loss as confusion_loss
from .confusion import discriminator_loss as discriminator_loss
from .confusion import frozen_logits as frozen_logits
from .triplet import HardTripletLoss as HardTripletLoss
from .triplet import WeightedTripletLoss as WeightedTripletLoss
