from base.cli import train


def main():
    for fold in range(3):
        args = ['-c', 'config.json', '--fold', str(fold), '-n', 'Fold%d' % fold, '--bs', '25']
        code = train(args)
        assert code == 0, code


if __name__ == '__main__':
    main()
