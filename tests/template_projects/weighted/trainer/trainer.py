import numpy as np
import torch
from base import BaseTrainer


class Trainer(BaseTrainer):
    # September 2019: no device argument
    def __init__(self, model, criterion, metric_ftns, optimizer, config, data_loader,
                 valid_data_loader=None, lr_scheduler=None, len_epoch=None):
        super().__init__(model, criterion, metric_ftns, optimizer, config)
        self.data_loader = data_loader
        self.valid_data_loader = valid_data_loader
        self.do_validation = self.valid_data_loader is not None
        self.lr_scheduler = lr_scheduler
        self.seen = 0

    def _epoch(self, loader, train):
        losses, preds, targets = [], [], []
        for batch_idx, (data, target) in enumerate(loader):
            data, target = data.to(self.device), target.to(self.device)
            output = self.model(data)
            loss = self.criterion(output, target)
            if train:
                self.optimizer.zero_grad()
                loss.backward()
                self.optimizer.step()
                self.seen += len(data)
                self.logger.info('{} {:.4f}'.format(self._progress(batch_idx), loss.item()))
            losses.append(loss.item())
            preds.append(output.argmax(1).cpu().numpy())
            targets.append(target.cpu().numpy())
        y_pred, y_true = np.concatenate(preds), np.concatenate(targets)
        log = {'loss': np.mean(losses)}
        log.update({m.__name__: m(y_pred, y_true) for m in self.metric_ftns})
        return log

    def _train_epoch(self, epoch):
        self.model.train()
        log = self._epoch(self.data_loader, True)
        log['seen'] = self.seen
        if self.do_validation:
            log.update(**{'val_' + k: v for k, v in self._valid_epoch(epoch).items()})
        if self.lr_scheduler is not None:
            self.lr_scheduler.step(log['val_loss'])
        return log

    def _valid_epoch(self, epoch):
        self.model.eval()
        with torch.no_grad():
            return self._epoch(self.valid_data_loader, False)
