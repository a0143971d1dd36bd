//! Prices of resources and worth of shapes, for judging how well a node is used.

use super::packing::Index;

/// A price for one unit of each resource at which no bin for sale is worth more than it costs and the demand is worth
/// much: an approximate answer to the resource-price linear program (maximise price . demand where price . capacity
/// is at most the cost of each bin), by multiplicative weights.
pub(crate) fn derive(index: &Index) -> Vec<f64> {
    let problem = index.problem;
    let mut demand = vec![0.0_f64; index.resources];
    for (shape, facts) in problem.shapes.iter().enumerate() {
        for (sum, &take) in demand.iter_mut().zip(index.demand(shape)) {
            *sum += take as f64 * f64::from(facts.count);
        }
    }
    // Shares of the demand that a node of each bin covers, for one dollar.
    let coverage: Vec<Vec<f64>> = index
        .by_price
        .iter()
        .filter(|&&bin| problem.bins[bin].max_count != Some(0))
        .map(|&bin| {
            let price = problem.bins[bin].price as f64;
            let shares = index.capacity(bin).iter().zip(&demand);
            shares.map(|(&room, &sum)| if sum > 0.0 { room.max(0) as f64 / sum / price } else { 0.0 }).collect()
        })
        .collect();
    let mut weights: Vec<f64> = demand.iter().map(|sum| if *sum > 0.0 { 1.0 } else { 0.0 }).collect();
    let (mut best, mut best_worth) = (vec![0.0; index.resources], 0.0);
    const ROUNDS: u32 = 300;
    for round in 0..ROUNDS {
        let worth =
            |cover: &Vec<f64>| -> f64 { cover.iter().zip(&weights).map(|(share, weight)| share * weight).sum() };
        let Some((cover, top)) = coverage
            .iter()
            .map(|cover| (cover, worth(cover)))
            .max_by(|one, other| one.1.total_cmp(&other.1))
            .filter(|(_, top)| *top > 0.0)
        else {
            break;
        };
        let total: f64 = weights.iter().sum();
        if total / top > best_worth {
            best_worth = total / top;
            best = weights.iter().map(|weight| weight / top).collect();
        }
        let most = cover.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
        let step = 0.4 / (1.0 + f64::from(round) * 0.05);
        for (weight, share) in weights.iter_mut().zip(cover) {
            *weight *= (-step * share / most).exp();
        }
    }
    best.iter().zip(&demand).map(|(worth, sum)| if *sum > 0.0 { worth / sum } else { 0.0 }).collect()
}

/// What a unit of each shape is worth by the prices of the resources it takes; never 0.
pub(crate) fn by_resources(index: &Index, prices: &[f64]) -> Vec<f64> {
    (0..index.problem.shapes.len())
        .map(|shape| {
            let worth: f64 = index.demand(shape).iter().zip(prices).map(|(take, price)| *take as f64 * price).sum();
            worth.max(1.0)
        })
        .collect()
}

/// What a unit of each shape costs where nothing else is bought: the price of the bin that holds its units cheapest,
/// by unit. Shapes that few bins admit, or of which a node takes few, are worth more than their resources.
pub(crate) fn alone(index: &Index) -> Vec<f64> {
    let problem = index.problem;
    (0..problem.shapes.len())
        .map(|shape| {
            let costs = index.sold_to[shape].iter().filter_map(|&bin| {
                let most = index.most_alone(shape, bin).min(problem.shapes[shape].count);
                (most > 0).then(|| problem.bins[bin].price as f64 / f64::from(most))
            });
            costs.fold(f64::INFINITY, f64::min)
        })
        .map(|cost| if cost.is_finite() { cost.max(1.0) } else { 1.0 })
        .collect()
}
