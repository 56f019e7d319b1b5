import torch
from base import BaseTrainer
from utils import MetricTracker, inf_loop


class CurveTrainer(BaseTrainer):
    def __init__(self, model, criterion, metric_ftns, optimizer, config, device, data_loader, test_data_loader,
                 lr_scheduler=None, len_epoch=None, noise=0.0):
        super().__init__(model, criterion, metric_ftns, optimizer, config)
        self.device = device
        self.len_epoch = len_epoch or len(data_loader)
        self.data_loader = inf_loop(data_loader)
        self.test_data_loader = test_data_loader
        self.lr_scheduler = lr_scheduler
        self.noise = noise
        self.best_seen = None
        self.train_metrics = MetricTracker('loss', 'fit', 'size', writer=self.writer)

    def _train_epoch(self, epoch):
        self.model.train()
        self.train_metrics.reset()
        for batch_idx, (x, y) in enumerate(self.data_loader):
            x, y = x.to(self.device), y.to(self.device)
            self.writer.set_step((epoch - 1) * self.len_epoch + batch_idx)
            self.optimizer.zero_grad()
            loss = self.criterion(self.model(x + self.noise * torch.randn_like(x)), y)
            loss.backward()
            self.optimizer.step()
            self.train_metrics.update('loss', loss.item(), n=len(x))
            for name, value in self.criterion.parts.items():
                self.train_metrics.update(name, value, n=len(x))
            if batch_idx + 1 == self.len_epoch:
                break
        log = self.train_metrics.result()
        log['test_mae'] = self._valid_epoch(epoch)['mae']
        self.best_seen = min(self.best_seen or 1e9, log['test_mae'])
        log['best_seen'] = self.best_seen
        return log

    def _valid_epoch(self, epoch):
        self.model.eval()
        met, = self.metric_ftns
        total = 0
        with torch.no_grad():
            for x, y in self.test_data_loader:
                total += met(self.model(x.to(self.device)), y.to(self.device)) * len(x)
        return {'mae': total / self.test_data_loader.n_samples}
